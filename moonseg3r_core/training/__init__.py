"""Training of the nets that ship with the package, on rooms that are rendered as they are needed."""
