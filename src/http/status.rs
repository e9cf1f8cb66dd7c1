//! What an answer begins with: how it went, by the numbers of RFC 9110 §15.

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is answered.
    Ok,
    /// It is no request, or could be read in two ways.
    BadRequest,
    /// There is no such thing.
    NotFound,
    /// The thing is there, and takes only these methods.
    MethodNotAllowed {
        /// With commas between.
        allow: &'static str,
    },
    /// It did not come in time.
    RequestTimeout,
    /// Its body is longer than is taken.
    ContentTooLarge,
    /// Its first line is.
    UriTooLong,
    /// Its fields are.
    FieldsTooLarge,
    /// Its body has a coding that is not known here.
    NotImplemented,
    /// Who was to answer has not, or not well.
    BadGateway,
    /// Not now.
    ServiceUnavailable,
    /// Who was to answer has not in time.
    GatewayTimeout,
    /// It comes by here again and again.
    LoopDetected,
    /// It is of another HTTP.
    VersionNotSupported,
}

impl Status {
    /// Code and reason.
    pub fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed { .. } => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::FieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::BadGateway => "502 Bad Gateway",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::GatewayTimeout => "504 Gateway Timeout",
            Self::LoopDetected => "508 Loop Detected",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The three digits.
    pub fn code(self) -> u16 {
        self.line().bytes().take(3).fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_line() {
        assert_eq!(Status::Ok.code(), 200);
        assert_eq!(Status::LoopDetected.code(), 508);
    }
}
