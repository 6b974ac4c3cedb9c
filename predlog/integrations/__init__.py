"""Other people's training loops: one module a framework, which imports that framework at its top."""
