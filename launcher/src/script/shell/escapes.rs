//! Backslash escapes of `$'…'`, `echo -e` and `printf`.

/// Decodes the escape that follows a backslash, appends what it stands for to `output` and returns
/// how many bytes of `rest` it took. An unknown escape is itself.
pub(crate) fn decode_one(rest: &[u8], output: &mut Vec<u8>) -> usize {
    let Some(&first) = rest.first() else {
        output.push(b'\\');
        return 0;
    };
    let plain = match first {
        b'a' => 0x07,
        b'b' => 0x08,
        b'e' | b'E' => 0x1b,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'\'' | b'"' | b'?' => first,
        b'0'..=b'7' => {
            let (value, used) = number(rest, 8, 3);
            push_byte(value, output);
            return used;
        }
        b'x' => {
            let (value, used) = number(rest.get(1..).unwrap_or_default(), 16, 2);
            if used == 0 {
                output.extend_from_slice(b"\\x");
            } else {
                push_byte(value, output);
            }
            return used.saturating_add(1);
        }
        b'u' | b'U' => {
            let digits = if first == b'u' { 4 } else { 8 };
            let (value, used) = number(rest.get(1..).unwrap_or_default(), 16, digits);
            match char::from_u32(value) {
                Some(character) if used > 0 => {
                    output.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => output.extend_from_slice(&[b'\\', first]),
            }
            return used.saturating_add(1);
        }
        _ => {
            output.extend_from_slice(&[b'\\', first]);
            return 1;
        }
    };
    output.push(plain);
    1
}

/// Octal escapes above 255 lose their high bits, as in bash.
fn push_byte(value: u32, output: &mut Vec<u8>) {
    let [.., low] = value.to_be_bytes();
    output.push(low);
}

/// The number that `text` begins with, of at most `most` digits, and how many it has.
fn number(text: &[u8], radix: u32, most: usize) -> (u32, usize) {
    let mut value = 0_u32;
    let mut used = 0_usize;
    for byte in text.iter().take(most) {
        let Some(digit) = char::from(*byte).to_digit(radix) else {
            break;
        };
        value = value.wrapping_mul(radix).wrapping_add(digit);
        used = used.saturating_add(1);
    }
    (value, used)
}
