"""From frames to events and from answers to frames: where protocols meet sessions."""
