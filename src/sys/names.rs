//! Users and groups by name.

use nix::unistd::{Group, User};

/// The number of a user, by name or in digits; `None` if this machine knows no such name.
pub fn user_number(text: &str) -> Option<u32> {
    digits(text).or_else(|| Some(User::from_name(text).ok()??.uid.as_raw()))
}

/// The number of a group, by name or in digits; `None` if this machine knows no such name.
pub fn group_number(text: &str) -> Option<u32> {
    digits(text).or_else(|| Some(Group::from_name(text).ok()??.gid.as_raw()))
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_digits_have_numbers() {
        assert_eq!((user_number("root"), group_number("root")), (Some(0), Some(0)));
        assert_eq!((user_number("65534"), group_number("12")), (Some(65534), Some(12)));
        for bad in ["", "no such name", "99999999999", "-1", "+1"] {
            assert_eq!((user_number(bad), group_number(bad)), (None, None), "{bad}");
        }
    }
}
