"""The static site, and every page the product writes itself."""
