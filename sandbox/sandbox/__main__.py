"""`python -m sandbox`: run the sandbox alone."""

import uvicorn

from .main import create_app
from .settings import Settings

if __name__ == "__main__":
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,
        timeout_graceful_shutdown=3,
    )
