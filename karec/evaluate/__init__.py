"""How good it is: measures with intervals, diversity and concentration, and the report that shows them."""
