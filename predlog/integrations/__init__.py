"""Training loops of other libraries: one module per library, which imports that library when it is imported."""
