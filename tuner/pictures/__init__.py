"""What λ does, in pictures: numbers, figures, files and the note for the dashboard."""
