"""Coverage-guided fuzzing of every decoder, by atheris."""
