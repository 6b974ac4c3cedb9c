"""What the Trainer's callback needs to know about Hugging Face models, mostly read from their source code."""
