;; A component that asks for what no router has: `acme:telemetry/meter@1.0.0`. It is refused for that, before anyone
;; looks at its exports.
(component
  (import "acme:telemetry/meter@1.0.0" (instance (export "tick" (func))))
  (core module $empty)
  (core instance (instantiate $empty)))
