//! Licence expressions (SPDX 2.3, annex D), as far as `Cargo.toml` files use them.

/// Whether the expression holds when exactly the licences for which `allowed` is true may be used. `Apache-2.0 WITH
/// LLVM-exception` is one licence. The old form `MIT/Apache-2.0` means `OR`.
///
/// # Errors
/// It is no such expression.
pub(crate) fn is_allowed(text: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let text = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = Words { words: text.split_whitespace().collect(), at: 0 };
    let value = words.either(allowed)?;
    match words.peek() {
        None => Ok(value),
        Some(word) => Err(format!("{word:?} is one too many")),
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn next_is(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        self.at += usize::from(is);
        is
    }

    fn either(&mut self, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
        let mut value = self.both(allowed)?;
        while self.next_is("OR") {
            value |= self.both(allowed)?;
        }
        Ok(value)
    }

    fn both(&mut self, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
        let mut value = self.one(allowed)?;
        while self.next_is("AND") {
            value &= self.one(allowed)?;
        }
        Ok(value)
    }

    fn one(&mut self, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
        if self.next_is("(") {
            let value = self.either(allowed)?;
            return if self.next_is(")") { Ok(value) } else { Err("a parenthesis is not closed".into()) };
        }
        let licence = self.word()?;
        if self.next_is("WITH") {
            return Ok(allowed(&format!("{licence} WITH {}", self.word()?)));
        }
        Ok(allowed(licence))
    }

    fn word(&mut self) -> Result<&'a str, String> {
        let word =
            self.peek().filter(|word| !["OR", "AND", "WITH", "(", ")"].contains(word)).ok_or("a licence is missing")?;
        self.at += 1;
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<bool, String> {
        is_allowed(text, &|licence| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&licence))
    }

    #[test]
    fn one_of_several_suffices_all_of_several_are_needed() {
        assert_eq!(with("MIT"), Ok(true));
        assert_eq!(with("GPL-3.0 OR MIT"), Ok(true));
        assert_eq!(with("Unlicense/MIT"), Ok(true));
        assert_eq!(with("MIT AND GPL-3.0"), Ok(false));
        assert_eq!(with("GPL-3.0"), Ok(false));
    }

    #[test]
    fn and_binds_closer_than_or() {
        assert_eq!(with("MIT OR ISC AND GPL-3.0"), Ok(true));
        assert_eq!(with("(MIT OR ISC) AND GPL-3.0"), Ok(false));
        assert_eq!(with("ISC AND (Apache-2.0 OR ISC)"), Ok(true));
    }

    #[test]
    fn an_exception_makes_another_licence() {
        assert_eq!(with("Apache-2.0 WITH LLVM-exception"), Ok(true));
        assert_eq!(with("Apache-2.0"), Ok(false));
        assert_eq!(with("MIT WITH LLVM-exception"), Ok(false));
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["", "OR", "MIT OR", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "AND MIT"] {
            assert!(with(text).is_err(), "{text:?}");
        }
    }
}
