from .load import thinc_tests

ACCEPTED = "requires that an undecorated subclassed Keras model is refused, which works here"
CAPTURE = "its constructor calls super().__init__(self), which Keras 3 refuses by itself"

globals().update(
    thinc_tests(
        "tensorflow",
        not_run={
            "test_tensorflow_wrapper_keras_subclass_decorator_compile_args": ACCEPTED,
            "test_tensorflow_wrapper_keras_subclass_decorator": ACCEPTED,
            "test_tensorflow_wrapper_keras_subclass_decorator_capture_args_kwargs": CAPTURE,
        },
    )
)
