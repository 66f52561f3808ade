"""Hand-written autograd functions, the fused output layer and int8 matrices."""
