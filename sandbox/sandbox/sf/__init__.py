"""SF Express 丰桥: orders, cancellation, routes and route pushes for one customer."""
