"""Serves exported models; needs `pip install 'kmmft[serve]'`, and no Keras.

`kmmft-serve EXPORT_DIR` speaks TensorFlow Serving's REST and gRPC APIs; in Python:
`kmmft.serving.running_server.RunningServer`. Nothing is imported here, so that the
export can use `drift_statistics` without a server's packages.
"""
