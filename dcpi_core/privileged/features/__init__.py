"""Labels about a student's features: whole maps, and their attention."""
