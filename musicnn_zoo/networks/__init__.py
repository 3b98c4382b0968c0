"""Networks: configurations, front-ends, back-ends, and the Keras models built of them."""
