"""The loss surface: planes and slices of it with the runs on it, what joins solutions, and classic surfaces."""
