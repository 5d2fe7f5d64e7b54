"""Views of a run: plain listeners of frozen events, and pure functions from data to text."""
