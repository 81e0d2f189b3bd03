"""What a run shows of itself: metrics, TensorBoard, learning curves, videos, and the memory as a cloud."""
