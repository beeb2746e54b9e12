"""The main journey through the public API and events only: what `beam demo` shows and the flow
tests prove. Nothing here imports a service."""
