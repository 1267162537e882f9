use super::{Codec, DecodeError, decode};

const TEXT: &[u8] = b"skiff skiff skiff skiff skiff skiff, over and over and over and over the sea";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let mut out = vec![0; compressor.zlib_compress_bound(data.len())];
    let len = compressor.zlib_compress(data, &mut out).unwrap();
    out.truncate(len);
    out
}

fn xz(data: &[u8]) -> Vec<u8> {
    liblzma::encode_all(data, 0).unwrap()
}

fn samples() -> Vec<(Codec, Vec<u8>)> {
    // Written by hand from the format's description: 12 literals, a match of 30 at distance 6,
    // and the end marker.
    let mut lzo = vec![17 + 12];
    lzo.extend_from_slice(&TEXT[..12]);
    lzo.extend_from_slice(&[32 + 28, 5 << 2, 0, 17, 0, 0]);
    let lzo_text = TEXT[..6].repeat(7);
    let mut out = [0; 64];
    let len = decode(Codec::Lzo, &lzo, &mut out).unwrap();
    assert_eq!(&out[..len], lzo_text);
    vec![
        (Codec::Gzip, gzip(TEXT)),
        (Codec::Zstd, zstd::bulk::compress(TEXT, 3).unwrap()),
        (Codec::Xz, xz(TEXT)),
        (Codec::Lz4, lz4_flex::block::compress(TEXT)),
    ]
}

#[test]
fn each_codec_decodes_and_keeps_to_the_buffer() {
    for (codec, packed) in samples() {
        for room in [TEXT.len(), TEXT.len() + 1, 4096] {
            let mut out = vec![0; room];
            assert_eq!(decode(codec, &packed, &mut out), Ok(TEXT.len()), "{codec}");
            assert_eq!(&out[..TEXT.len()], TEXT, "{codec}");
        }
        let mut out = vec![0; TEXT.len() - 1];
        assert_eq!(
            decode(codec, &packed, &mut out),
            Err(DecodeError::TooLong {
                codec,
                limit: TEXT.len() - 1
            })
        );
        for cut in 0..packed.len() {
            let result = decode(codec, &packed[..cut], &mut [0; 4096]);
            // A bare LZ4 block has no end marker, so a cut between two sequences is not seen.
            assert!(
                result.is_err() || codec == Codec::Lz4,
                "{codec} cut at {cut}"
            );
        }
        // Still usable after errors.
        let mut out = vec![0; TEXT.len()];
        assert_eq!(decode(codec, &packed, &mut out), Ok(TEXT.len()), "{codec}");
    }
}

#[test]
fn an_xz_dictionary_beyond_reason_is_refused() {
    let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    options.dict_size(64 << 20);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let mut encoder =
        liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::None)
            .unwrap();
    let mut packed = Vec::with_capacity(4096);
    encoder
        .process_vec(TEXT, &mut packed, liblzma::stream::Action::Finish)
        .unwrap();
    let error = decode(Codec::Xz, &packed, &mut [0; 4096]).unwrap_err();
    assert!(error.to_string().contains("dictionary"), "{error}");
}

#[test]
fn no_input_makes_a_decoder_panic() {
    let mut random = 1_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut lzo = vec![17 + 12];
    lzo.extend_from_slice(&TEXT[..12]);
    lzo.extend_from_slice(&[32 + 28, 5 << 2, 0, 17, 0, 0]);
    let mut seeds = samples();
    seeds.push((Codec::Lzo, lzo));
    for round in 0..20_000 {
        let (codec, seed) = &seeds[round % seeds.len()];
        let mut packed = seed.clone();
        for _ in 0..=next() % 6 {
            let at = next() as usize % packed.len();
            packed[at] = next() as u8;
        }
        if next().is_multiple_of(4) {
            packed.truncate(next() as usize % packed.len());
        }
        // The result is free, the length is not.
        if let Ok(len) = decode(*codec, &packed, &mut [0; 256]) {
            assert!(len <= 256);
        }
    }
    for _ in 0..200_000 {
        let len = next() as usize % 64;
        let noise: Vec<u8> = (0..len).map(|_| next() as u8).collect();
        if let Ok(len) = decode(Codec::Lzo, &noise, &mut [0; 200]) {
            assert!(len <= 200);
        }
    }
}
