;; A sound component that is no filter: all it exports is `greet: func() -> u32`.
(component
  (core module $greeter
    (func (export "greet") (result i32) (i32.const 7)))
  (core instance $instance (instantiate $greeter))
  (func (export "greet") (result u32) (canon lift (core func $instance "greet"))))
