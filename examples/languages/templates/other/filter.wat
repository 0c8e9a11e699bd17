;; my-filter: passes orders of at least `min`, and marks them. Without any kit, to show what a toolchain has to make of a
;; filter: ABI.md says why each thing is as it is.
(module
  ;; Makes the handle of a subscription, whose value is ours. Here it is `min` itself.
  (import "[export]trommel:filter/filter@0.2.0" "[resource-new]subscription" (func $new (param i32) (result i32)))

  (memory (export "memory") 1)
  (data (i32.const 16)
    "{\"name\":\"my-filter\",\"version\":\"0.1.0\",\"description\":\"Passes large orders\","
    "\"hooks\":[\"normalize-params\",\"matches\",\"process\"],"
    "\"params\":[{\"name\":\"min\",\"type\":\"int\",\"default\":\"100\",\"description\":\"Smallest amount that passes\"}]}\00")
  (data (i32.const 512) "/amount/largetrue")
  (data (i32.const 544) "the only param is `min`, a whole number")
  ;; What both hooks read: a list of one text.
  (data (i32.const 592) "\00\02\00\00\07\00\00\00")
  ;; From 1024 on: what `cabi_realloc` gave out since the call began, then the answer.
  (global $free (mut i32) (i32.const 1024))

  ;; Memory for what the router hands over. Nothing is given back one by one.
  (func $alloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $new)))
    (loop $more
      (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
          (br $more))))
    (local.get $at))

  ;; An answer of so many bytes, all zero.
  (func $answer (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (call $alloc (i32.const 0) (i32.const 0) (i32.const 8) (local.get $size)))
    (memory.fill (local.get $at) (i32.const 0) (local.get $size))
    (local.get $at))

  ;; After the router has read an answer, all memory is free again.
  (func $done (param i32) (global.set $free (i32.const 1024)))
  (export "cabi_post_trommel:filter/filter@0.2.0#describe" (func $done))
  (export "cabi_post_trommel:filter/filter@0.2.0#normalize-params" (func $done))
  (export "cabi_post_trommel:filter/filter@0.2.0#[method]subscription.interest" (func $done))
  (export "cabi_post_trommel:filter/filter@0.2.0#[method]subscription.process" (func $done))

  ;; A whole number in text: its value, or -1.
  (func $number (param $at i32) (param $length i32) (result i32)
    (local $value i32) (local $digit i32)
    (if (i32.eqz (local.get $length)) (then (return (i32.const -1))))
    (loop $next
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (if (i32.gt_u (local.get $digit) (i32.const 9)) (then (return (i32.const -1))))
      (if (i32.gt_u (local.get $value) (i32.const 214748363)) (then (return (i32.const -1))))
      (local.set $value (i32.add (i32.mul (local.get $value) (i32.const 10)) (local.get $digit)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $length (i32.sub (local.get $length) (i32.const 1)))
      (br_if $next (local.get $length)))
    (local.get $value))

  ;; `min` of the params, 100 without it, -1 if they are wrong. A param is 16 bytes: where its name is, and how long, and
  ;; the same of its value.
  (func $min (param $params i32) (param $count i32) (result i32)
    (if (i32.eqz (local.get $count)) (then (return (i32.const 100))))
    (if (i32.ne (local.get $count) (i32.const 1)) (then (return (i32.const -1))))
    (if (i32.ne (i32.load offset=4 (local.get $params)) (i32.const 3)) (then (return (i32.const -1))))
    ;; "min", and what comes behind it in memory.
    (if (i32.ne (i32.and (i32.load (i32.load (local.get $params))) (i32.const 0xffffff)) (i32.const 0x6e696d))
      (then (return (i32.const -1))))
    (call $number (i32.load offset=8 (local.get $params)) (i32.load offset=12 (local.get $params))))

  ;; describe: func() -> string
  (func (export "trommel:filter/filter@0.2.0#describe") (result i32)
    (local $answer i32) (local $length i32)
    (local.set $answer (call $answer (i32.const 8)))
    (loop $more
      (local.set $length (i32.add (local.get $length) (i32.const 1)))
      (br_if $more (i32.load8_u offset=16 (local.get $length))))
    (i32.store (local.get $answer) (i32.const 16))
    (i32.store offset=4 (local.get $answer) (local.get $length))
    (local.get $answer))

  ;; normalize-params: func(key: string, params: params) -> result<params, failure>
  (func (export "trommel:filter/filter@0.2.0#normalize-params")
    (param $key i32) (param $key-length i32) (param $params i32) (param $count i32) (result i32)
    (local $answer i32)
    (local.set $answer (call $answer (i32.const 32)))
    (if (i32.eq (call $min (local.get $params) (local.get $count)) (i32.const -1))
      (then
        (i32.store8 (local.get $answer) (i32.const 1))               ;; a failure: malformed, without a code
        (i32.store offset=24 (local.get $answer) (i32.const 544))    ;; its detail
        (i32.store offset=28 (local.get $answer) (i32.const 39)))
      (else
        (i32.store offset=4 (local.get $answer) (local.get $params)) ;; the params as they came
        (i32.store offset=8 (local.get $answer) (local.get $count))))
    (local.get $answer))

  ;; constructor(key: string, params: params) -> result<subscription, failure>
  (func (export "trommel:filter/filter@0.2.0#[constructor]subscription")
    (param $key i32) (param $key-length i32) (param $params i32) (param $count i32) (result i32)
    (local $answer i32)
    (local.set $answer (call $answer (i32.const 32)))
    (i32.store offset=4 (local.get $answer) (call $new (call $min (local.get $params) (local.get $count))))
    (global.set $free (i32.const 1024))
    (local.get $answer))

  ;; interest: func() -> interest
  (func (export "trommel:filter/filter@0.2.0#[method]subscription.interest") (param $min i32) (result i32)
    (local $answer i32)
    (local.set $answer (call $answer (i32.const 32)))
    (i32.store offset=8 (local.get $answer) (i32.const 592))   ;; match-reads
    (i32.store offset=12 (local.get $answer) (i32.const 1))
    (i32.store offset=16 (local.get $answer) (i32.const 592))  ;; process-reads
    (i32.store offset=20 (local.get $answer) (i32.const 1))
    (local.get $answer))

  ;; matches: func(event: event) -> bool. A field is 12 bytes: whether it is there, where it is, and how long.
  (func (export "trommel:filter/filter@0.2.0#[method]subscription.matches")
    (param $min i32) (param $event i32) (param $count i32) (result i32)
    (global.set $free (i32.const 1024))
    (if (result i32) (i32.load8_u (local.get $event))
      (then (i32.ge_s
        (call $number (i32.load offset=4 (local.get $event)) (i32.load offset=8 (local.get $event)))
        (local.get $min)))
      (else (i32.const 0))))

  ;; process: func(event: event) -> result<outcome, failure>
  (func (export "trommel:filter/filter@0.2.0#[method]subscription.process")
    (param $min i32) (param $event i32) (param $count i32) (result i32)
    (local $answer i32) (local $edit i32)
    (local.set $edit (call $answer (i32.const 20)))
    (i32.store (local.get $edit) (i32.const 519))            ;; the field, "/large"
    (i32.store offset=4 (local.get $edit) (i32.const 6))
    (i32.store offset=12 (local.get $edit) (i32.const 525))  ;; set, to "true"
    (i32.store offset=16 (local.get $edit) (i32.const 4))
    (local.set $answer (call $answer (i32.const 32)))
    (i32.store8 offset=4 (local.get $answer) (i32.const 3))  ;; an edit, of one change
    (i32.store offset=8 (local.get $answer) (local.get $edit))
    (i32.store offset=12 (local.get $answer) (i32.const 1))
    (local.get $answer))

  ;; Never called, as the manifest's `hooks` do not name them.
  (func (export "trommel:filter/filter@0.2.0#[method]subscription.matches-batch")
    (param i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "trommel:filter/filter@0.2.0#[method]subscription.process-batch")
    (param i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "trommel:filter/filter@0.2.0#[method]subscription.tick") (param i32 i64) (result i32) unreachable))
