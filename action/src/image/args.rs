// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parameter string of `init_module(2)`.

use super::ArgsError;

/// Most bytes of the parameter string, without a closing zero: what the wire carries.
pub const ARGS_MAX: usize = 64 << 10;

/// Joins parameters as `modprobe` does: separated by blanks, a value with a blank in double quotes.
///
/// The kernel (`next_arg`, `lib/cmdline.c`) takes quotes off around a whole value and knows no escape, so a value that has
/// both a blank and a quote inside it is refused.
///
/// # Errors
/// [`ArgsError`] names the parameter.
pub fn join_args<S: AsRef<str>>(params: &[S]) -> Result<String, ArgsError> {
    let mut joined = String::new();
    for param in params {
        let param = param.as_ref();
        if param.chars().any(|c| c.is_control() && c != '\t') {
            return Err(ArgsError::Control(param.to_owned()));
        }
        // A parameter without a value is a flag (`bool`), as on the kernel's command line.
        let (name, value) = match param.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (param, None),
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '"') {
            return Err(ArgsError::Form(param.to_owned()));
        }
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(name);
        if let Some(value) = value {
            joined.push('=');
            push_value(&mut joined, value).ok_or_else(|| ArgsError::Quotes(param.to_owned()))?;
        }
    }
    if joined.len() > ARGS_MAX {
        return Err(ArgsError::TooLong(joined.len()));
    }
    Ok(joined)
}

/// Appends one value; `None` if no spelling of it would reach the module as it is.
fn push_value(joined: &mut String, value: &str) -> Option<()> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let blank = value.contains(char::is_whitespace);
    match inner {
        Some(inner) if !inner.contains('"') => joined.push_str(value),
        _ if value.contains('"') => return None,
        _ if blank => {
            joined.push('"');
            joined.push_str(value);
            joined.push('"');
        }
        _ => joined.push_str(value),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_joined_as_modprobe_does() {
        let table: [(&[&str], &str); 8] = [
            (&[], ""),
            (&["answer=42"], "answer=42"),
            (&["a=1", "b=2"], "a=1 b=2"),
            (&["verbose"], "verbose"),
            (&["text=two words"], "text=\"two words\""),
            (&["text=\"two words\"", "x="], "text=\"two words\" x="),
            (&["list=1,2,3", "eq=a=b"], "list=1,2,3 eq=a=b"),
            (&["utf8=grün"], "utf8=grün"),
        ];
        for (params, joined) in table {
            assert_eq!(join_args(params).unwrap(), joined, "{params:?}");
        }
    }

    #[test]
    fn what_the_kernel_would_read_differently_is_refused() {
        let table = [
            ("", ArgsError::Form(String::new())),
            ("=1", ArgsError::Form("=1".into())),
            ("a b=1", ArgsError::Form("a b=1".into())),
            ("a\"=1", ArgsError::Form("a\"=1".into())),
            ("a=1\n", ArgsError::Control("a=1\n".into())),
            ("a=\0", ArgsError::Control("a=\0".into())),
            ("a=say \"hi\" now", ArgsError::Quotes("a=say \"hi\" now".into())),
            ("a=\"", ArgsError::Quotes("a=\"".into())),
            ("a=x\"y", ArgsError::Quotes("a=x\"y".into())),
        ];
        for (param, error) in table {
            assert_eq!(join_args(&[param]).unwrap_err(), error, "{param:?}");
        }
    }

    #[test]
    fn the_limit_is_64_kib_to_the_byte() {
        let fits = format!("a={}", "x".repeat(ARGS_MAX - 2));
        assert_eq!(join_args(&[&fits]).unwrap().len(), ARGS_MAX);
        assert_eq!(join_args(&[fits + "x"]), Err(ArgsError::TooLong(ARGS_MAX + 1)));
    }
}
