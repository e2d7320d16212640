"""Maps for eyes and for other programs: one picture, common file formats."""
