"""The process: which parts start, in which order, on which stores, behind one HTTP server; and how it all ends."""
