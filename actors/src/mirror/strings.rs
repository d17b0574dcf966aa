//! What operating system commands and device control strings do.

use vt100::Callbacks;

use super::{cutter::Kind, drawing::Drawing, notice::What, replies, replies::Facts};

/// Where the colours of `OSC 10` and up begin behind the palette's.
const DYNAMIC: u16 = 256;

/// Most colours that one sequence sets or asks for.
const COLORS_MAX: usize = 256;

impl<C: Callbacks> Drawing<'_, C> {
    /// A string that has ended.
    pub(super) fn string(&mut self, kind: Kind, payload: Vec<u8>) {
        match kind {
            Kind::Osc => self.command(payload),
            Kind::Dcs => {
                if let Some(reply) = replies::to_device_control(&payload, &self.facts()) {
                    self.reply(reply);
                }
            }
            Kind::Other => {}
        }
    }

    /// What replies depend on.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            rows: self.rows(),
            cols: self.cols(),
            place: self.place(),
            margins: self.margins(),
            modes: &self.state.modes,
            pen: self.state.pen,
            cursor_style: self.state.cursor_style,
            alternate: self.vt.screen().alternate_screen(),
        }
    }

    fn command(&mut self, payload: Vec<u8>) {
        let mut parts = payload.splitn(2, |&byte| byte == b';');
        let number: Option<u16> =
            parts.next().and_then(|number| str::from_utf8(number).ok()).and_then(|number| number.parse().ok());
        let text = parts.next().unwrap_or_default();
        let asked = match number {
            Some(0 | 2) => {
                self.state.set_title(text);
                false
            }
            Some(4) => self.palette(text),
            Some(from @ 10..=19) => self.dynamic_colors(from, text),
            Some(104) => {
                self.reset_palette(text);
                false
            }
            Some(number @ 110..=119) => {
                self.state.colors.remove(&(number - 110 + DYNAMIC));
                false
            }
            _ => false,
        };
        if !asked && let Some(told) = self.state.marks.hear(&payload) {
            self.tell(What::Told(told));
        }
    }

    /// `OSC 4 ; index ; colour ; …`: whether one was asked for.
    fn palette(&mut self, text: &[u8]) -> bool {
        let mut reply = String::new();
        let mut parts = text.split(|&byte| byte == b';');
        for _ in 0..COLORS_MAX {
            let (Some(index), Some(spec)) = (parts.next(), parts.next()) else { break };
            if let Some(index) = number(index) {
                self.color(index.into(), spec, &mut reply);
            }
        }
        self.answer(reply)
    }

    /// `OSC 10 ; colour ; …`, each for the next of them.
    fn dynamic_colors(&mut self, from: u16, text: &[u8]) -> bool {
        let mut reply = String::new();
        for (at, spec) in (from..=19).zip(text.split(|&byte| byte == b';')) {
            self.color(at - 10 + DYNAMIC, spec, &mut reply);
        }
        self.answer(reply)
    }

    fn color(&mut self, color: u16, spec: &[u8], reply: &mut String) {
        if spec == b"?" {
            let value = self.state.colors.get(&color).copied().unwrap_or_else(|| replies::default_color(color));
            reply.push_str(&replies::color(color, value));
        } else if let Some(value) = parse_color(spec) {
            self.state.colors.insert(color, value);
        }
    }

    fn answer(&mut self, reply: String) -> bool {
        let asked = !reply.is_empty();
        if asked {
            self.reply(reply);
        }
        asked
    }

    fn reset_palette(&mut self, text: &[u8]) {
        if text.is_empty() {
            self.state.colors.retain(|&color, _| color >= DYNAMIC);
        }
        for index in text.split(|&byte| byte == b';').filter_map(number) {
            self.state.colors.remove(&index.into());
        }
    }
}

fn number(text: &[u8]) -> Option<u8> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// `rgb:r/g/b` or `#rgb`, of one to four hexadecimal digits each. Colours by name are X11's, and not known here.
fn parse_color(spec: &[u8]) -> Option<(u8, u8, u8)> {
    let spec = str::from_utf8(spec).ok()?;
    let parts: Vec<&str> = match spec.strip_prefix("rgb:") {
        Some(parts) => parts.split('/').collect(),
        None => {
            let digits = spec.strip_prefix('#').filter(|digits| digits.is_ascii() && digits.len() % 3 == 0)?;
            let each = digits.len() / 3;
            vec![digits.get(..each)?, digits.get(each..2 * each)?, digits.get(2 * each..)?]
        }
    };
    let [r, g, b] = parts[..] else { return None };
    let scaled = |part: &str| {
        let most = (1u32 << (4 * part.len())) - 1;
        let value = u32::from_str_radix(part, 16).ok()?;
        Some((value * 255 / most) as u8)
    };
    let sized = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    [r, g, b].into_iter().all(sized).then(|| Some((scaled(r)?, scaled(g)?, scaled(b)?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_at_any_precision() {
        for (spec, value) in [("rgb:ff/00/80", (255, 0, 128)), ("#f08", (255, 0, 136)), ("rgb:ffff/0000/8080", (255, 0, 128))] {
            assert_eq!(parse_color(spec.as_bytes()), Some(value), "{spec}");
        }
        for bad in ["", "red", "rgb:1/2", "rgb:+1/2/3", "#12345", "rgb:12345/1/1", "#é"] {
            assert_eq!(parse_color(bad.as_bytes()), None, "{bad}");
        }
    }
}
