//! Users and groups by name.

use nix::unistd::{Group, Uid, User};

/// The number of a user, by name or in digits; `None` if this machine knows no such name.
pub fn user_number(text: &str) -> Option<u32> {
    number(text).or_else(|| Some(User::from_name(text).ok()??.uid.as_raw()))
}

/// The number of a group, by name or in digits; `None` if this machine knows no such name.
pub fn group_number(text: &str) -> Option<u32> {
    number(text).or_else(|| Some(Group::from_name(text).ok()??.gid.as_raw()))
}

/// The name of a user, or else the number.
pub fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// Digits alone are a number, as for `chown`: no name is made of them. The largest is nobody's: it means "as it is" to
/// the kernel.
pub(super) fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&number| digits && number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_digits_have_numbers() {
        assert_eq!((user_number("root"), group_number("root")), (Some(0), Some(0)));
        assert_eq!((user_number("65534"), group_number("12")), (Some(65534), Some(12)));
        assert_eq!((user_name(0), user_name(4_000_000_000)), ("root".into(), "4000000000".into()));
        for bad in ["", "no such name", "4294967295", "99999999999", "-1", "+1"] {
            assert_eq!((user_number(bad), group_number(bad)), (None, None), "{bad}");
        }
    }
}
