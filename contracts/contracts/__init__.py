"""What services tell each other and the outside world: events and value types. No I/O, no logic."""
