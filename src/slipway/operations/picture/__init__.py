"""The architecture of a site as a picture: what there is (`parts`), where it stands (`layout`), how lines run between
(`routes`), and the SVG of that (`drawing`).

Called by `slipway reference`. All of it follows from the manifest and the topology, so the same manifest gives the same
bytes; nothing is synthesized for it.
"""
