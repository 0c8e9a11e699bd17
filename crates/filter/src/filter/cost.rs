//! Estimates what a component costs its compiler, by its structure and in one pass: components far
//! beyond any real program are refused before anything is compiled.

use wasmparser::{CompositeInnerType, FunctionBody, Operator, Parser, Payload};

use super::LoadError;

/// Most functions of all modules of a component. CPython and its libraries have a third of that;
/// each costs the compiler some 5 kB, even if it is empty.
const MAX_FUNCTIONS: u64 = 100_000;
/// Most bytes that one function may cost the compiler.
const MAX_FUNCTION: u64 = 256 << 20;
/// Bytes for each place in the control flow and each local: the compiler keeps a table of both.
const PER_PLACE: u64 = 4;
/// Bytes for each loop and each local: the compiler keeps a value of each local that a loop may
/// set.
const PER_LOOP: u64 = 120;
/// Size of the shortest loop, in bytes of code.
const SHORTEST_LOOP: u64 = 3;

/// Refuses a component or core module that is too expensive to compile. Other errors in it are
/// found later.
pub(super) fn check(file: &[u8]) -> Result<(), LoadError> {
    let (mut functions, mut widest) = (0_u64, 0);
    for payload in Parser::new(0).parse_all(file).map_while(Result::ok) {
        match payload {
            Payload::TypeSection(types) => {
                for group in types.into_iter().map_while(Result::ok) {
                    let widths = group.types().map(|ty| match &ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => ty.params().len() + ty.results().len(),
                        _ => 0,
                    });
                    widest = widths.fold(widest, |widest, width| widest.max(width as u64));
                }
            }
            Payload::FunctionSection(section) => {
                functions += u64::from(section.count());
                if functions > MAX_FUNCTIONS {
                    return Err(LoadError::Functions { limit: MAX_FUNCTIONS });
                }
            }
            Payload::CodeSectionEntry(body) if function(&body, widest) > MAX_FUNCTION => {
                return Err(LoadError::Function { at: body.range().start });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Estimates the bytes that the compiler needs for a function. `widest` is the largest number of
/// params and results of a function type.
fn function(body: &FunctionBody<'_>, widest: u64) -> u64 {
    let locals = body.get_locals_reader().into_iter().flatten().map_while(Result::ok);
    let width = locals.map(|(count, _)| u64::from(count)).sum::<u64>() + widest;
    let cost = |places: u64, loops: u64| width.saturating_mul(places * PER_PLACE + loops * PER_LOOP);
    let length = body.as_bytes().len() as u64;
    // Nearly all functions are too small to be worth a closer look.
    let most = cost(length, length / SHORTEST_LOOP);
    if most <= MAX_FUNCTION {
        return most;
    }
    let (mut places, mut loops) = (0, 0);
    let operators = body.get_operators_reader().into_iter().flatten().map_while(Result::ok);
    for operator in operators {
        match operator {
            Operator::Loop { .. } => loops += 1,
            Operator::BrTable { targets } => places += u64::from(targets.len()),
            Operator::Block { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::Return
            | Operator::Unreachable => places += 1,
            _ => {}
        }
    }
    cost(places + loops, loops)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with `functions` of these bodies.
    fn module(functions: usize, body: &str) -> Vec<u8> {
        wat::parse_str(format!("(module {})", format!("(func {body})").repeat(functions))).unwrap()
    }

    /// Loops within loops; the innermost sets all locals from each other.
    fn nested(loops: usize, locals: usize) -> Vec<u8> {
        let sets: String =
            (0..locals).map(|local| format!("(local.set {local} (local.get {}))", (local + 1) % locals)).collect();
        let (open, close) = ("(loop ".repeat(loops), "(br_if 0 (local.get 0)))".repeat(loops));
        module(1, &format!("(local {}) {open}{sets}{close}", "i32 ".repeat(locals)))
    }

    #[test]
    fn many_functions_are_refused() {
        assert!(check(&module(1000, "nop")).is_ok());
        let mut small = wasm_of_empty_functions(MAX_FUNCTIONS as u32);
        assert!(check(&small).is_ok());
        small = wasm_of_empty_functions(MAX_FUNCTIONS as u32 + 1);
        assert!(matches!(check(&small), Err(LoadError::Functions { .. })));
    }

    /// Text would take its parser longer than the rest of the tests.
    fn wasm_of_empty_functions(count: u32) -> Vec<u8> {
        let number = |mut number: u32| {
            let mut bytes = Vec::new();
            while number >= 128 {
                bytes.push((number & 127) as u8 | 128);
                number >>= 7;
            }
            bytes.push(number as u8);
            bytes
        };
        let section = |id: u8, each: &[u8]| {
            let body: Vec<u8> = number(count).into_iter().chain(each.repeat(count as usize)).collect();
            [vec![id], number(body.len() as u32), body].concat()
        };
        let types = [1, 4, 1, 0x60, 0, 0];
        [b"\0asm\x01\0\0\0".as_slice(), &types, &section(3, &[0]), &section(10, &[2, 0, 0x0b])].concat()
    }

    #[test]
    fn loops_by_locals_are_refused() {
        for (loops, locals, is_fine) in
            [(10, 10_000, true), (100, 1_000, true), (500, 5_000, false), (1000, 10_000, false)]
        {
            assert_eq!(check(&nested(loops, locals)).is_ok(), is_fine, "{loops} loops, {locals} locals");
        }
    }

    /// Branches that carry as many values as a function may return.
    #[test]
    fn branches_with_many_values_are_refused() {
        let values = "i32 ".repeat(1000);
        let zeros = "i32.const 0 ".repeat(1000);
        let branches = |count| {
            let branches = "(br_if 0 (i32.const 1))".repeat(count);
            wat::parse_str(format!("(module (func (result {values}) {zeros} {branches}))")).unwrap()
        };
        assert!(check(&branches(1_000)).is_ok());
        assert!(matches!(check(&branches(100_000)), Err(LoadError::Function { .. })));
    }

    /// Truncated and malformed files are left to later checks, and never cause a panic.
    #[test]
    fn any_bytes_are_looked_at() {
        let good = nested(10, 100);
        for end in 0..good.len() {
            let _ = check(&good[..end]);
            let mut damaged = good.clone();
            damaged[end] ^= 0xff;
            let _ = check(&damaged);
        }
    }

    #[test]
    fn components_that_ship_pass() {
        for folder in ["../../plugins", "../../tests/guests"] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "wasm") {
                    check(&std::fs::read(&path).unwrap()).unwrap();
                }
            }
        }
    }
}
