;; A filter of a later contract: imports and exports the interfaces of `trommel:filter@0.3.0`.
(component
  (import "trommel:filter/clock@0.3.0" (instance (export "now" (func (result u64)))))
  (core module $filter
    (func (export "describe") (result i32) (i32.const 0)))
  (core instance $instance (instantiate $filter))
  (func $describe (result u32) (canon lift (core func $instance "describe")))
  (instance $exported (export "describe" (func $describe)))
  (export "trommel:filter/filter@0.3.0" (instance $exported)))
