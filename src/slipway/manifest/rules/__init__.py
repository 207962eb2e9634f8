"""Rules that span sections: references, needs, exposure, recovery. One module each; `rulebook` lists them all."""
