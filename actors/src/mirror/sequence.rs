//! One control sequence, its parameters read.

/// Most parameters of one sequence, as in xterm; of more none is heeded.
const PARAMS_MAX: usize = 30;

/// Numbers between `CSI` and the final byte. An absent one reads as 0.
#[derive(Debug, Clone)]
pub(super) struct Params {
    values: [u16; PARAMS_MAX],
    /// Bit `n`: value `n` was parted from the one before it by a colon.
    sub: u32,
    len: usize,
}

impl Params {
    /// Reads `0`–`9`, `;` and `:`; `None` of anything else, and of too many.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut params = Self { values: [0; PARAMS_MAX], sub: 0, len: 0 };
        if bytes.is_empty() {
            return Some(params);
        }
        params.len = 1;
        for &byte in bytes {
            match byte {
                b'0'..=b'9' => {
                    let value = &mut params.values[params.len - 1];
                    *value = value.saturating_mul(10).saturating_add((byte - b'0').into());
                }
                b';' | b':' => {
                    if params.len == PARAMS_MAX {
                        return None;
                    }
                    params.sub |= u32::from(byte == b':') << params.len;
                    params.len += 1;
                }
                _ => return None,
            }
        }
        Some(params)
    }

    /// How many there are, sub-parameters among them.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether any parameter has sub-parameters.
    pub(super) fn has_parts(&self) -> bool {
        self.sub != 0
    }

    /// One value; 0 if absent.
    pub(super) fn get(&self, at: usize) -> u16 {
        self.values[..self.len].get(at).copied().unwrap_or(0)
    }

    /// One value, for which absent or 0 means 1.
    pub(super) fn count(&self, at: usize) -> u16 {
        self.get(at).max(1)
    }

    /// Each parameter with its sub-parameters.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[u16]> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = at;
            if start == self.len {
                return None;
            }
            at += 1;
            while at < self.len && self.sub & (1 << at) != 0 {
                at += 1;
            }
            Some(&self.values[start..at])
        })
    }
}

/// A whole `CSI` sequence.
#[derive(Debug)]
pub(super) struct Csi {
    /// `<`, `=`, `>` or `?`; 0 if none.
    pub(super) prefix: u8,
    pub(super) params: Params,
    /// The one byte between the parameters and the final one; 0 if none.
    pub(super) intermediate: u8,
    pub(super) last: u8,
}

impl Csi {
    /// Reads what stands behind `CSI`; `None` if it is no sequence that anything heeds.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (&last, body) = bytes.split_last()?;
        let (prefix, body) = match body {
            [prefix @ b'<'..=b'?', body @ ..] => (*prefix, body),
            _ => (0, body),
        };
        let (intermediate, body) = match body {
            [body @ .., intermediate @ b' '..=b'/'] => (*intermediate, body),
            _ => (0, body),
        };
        Some(Self { prefix, params: Params::read(body)?, intermediate, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_part_within_a_parameter_and_numbers_saturate() {
        let csi = Csi::read(b"38:2::1:2:3;99999999999999999999;m").unwrap();
        let groups: Vec<&[u16]> = csi.params.groups().collect();
        assert_eq!(groups, [&[38, 2, 0, 1, 2, 3][..], &[u16::MAX], &[0]]);
    }

    #[test]
    fn prefix_and_intermediate_stand_apart() {
        let csi = Csi::read(b"?1$p").unwrap();
        assert_eq!((csi.prefix, csi.params.get(0), csi.intermediate, csi.last), (b'?', 1, b'$', b'p'));
        for bad in [&b""[..], b"1?h", b"1!!p", [b';'; 40].as_slice()] {
            assert!(Csi::read(&[bad, b"x"].concat()).is_none() || bad.is_empty(), "{bad:?}");
        }
    }
}
