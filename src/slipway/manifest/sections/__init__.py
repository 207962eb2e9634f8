"""The sections of the manifest, one module each. `schema` assembles them; `rules` holds what spans several of them."""
