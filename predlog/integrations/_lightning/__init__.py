"""What the callback needs to know about a fit of Lightning's."""
