"""Images on the host: finding, building, pulling and saving them on a builder, loading them elsewhere.

Owns five methods and what they need of the engine's images. It must not know containers, leases or
releases. Everything that arrives is verified by its digest before it is used.
"""
