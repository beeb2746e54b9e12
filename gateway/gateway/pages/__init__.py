"""Pages that people read: plain HTML of our own, and Swagger UI for the API reference."""
