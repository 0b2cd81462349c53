"""Networks: ordinary modules, sized from the data and the loss."""
