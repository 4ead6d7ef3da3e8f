//! What COMPRESS (RFC 4978) keeps of an idle session, counted by an allocator of this test's own.

#![allow(unsafe_code)]

mod account;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering},
};

use account::{
    client::{Client, in_inbox},
    memory::MemoryAccount,
};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

fn size(layout: Layout) -> isize {
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(size(layout), Ordering::SeqCst);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(size(layout), Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SESSIONS: usize = 10;

/// Sends commands under compression and reads to the end of the last one's answer; nothing is kept here.
async fn talk(client: &mut Client) {
    let mut compress = Compress::new(Compression::default(), false);
    let mut octets = Vec::with_capacity(65_536);
    let commands = b"a FETCH 1 BODY.PEEK[]\r\nb SEARCH ALL\r\nc FETCH 1 BODY.PEEK[]\r\n";
    compress.compress_vec(commands, &mut octets, FlushCompress::Sync).unwrap();
    client.stream.write_all(&octets).await.unwrap();
    let (mut decompress, mut answer) = (Decompress::new(false), Vec::new());
    while !answer.ends_with(b"c OK FETCH\r\n") {
        let mut came = vec![0; 4_096];
        let read = client.stream.read(&mut came).await.unwrap();
        answer.clear();
        answer.reserve(4 << 20);
        decompress.decompress_vec(&came[..read], &mut answer, FlushDecompress::None).unwrap();
    }
}

#[tokio::test]
async fn an_idle_session_keeps_less_than_52_kib_for_compression() {
    let held = || HELD.load(Ordering::SeqCst);
    let start = held();
    let deflater = Compress::new_with_window_bits(Compression::new(3), false, 12);
    let compressor = held() - start;
    drop(deflater);
    let inflater = Decompress::new_with_window_bits(false, 15);
    let decompressor = held() - start;
    drop(inflater);
    assert!(compressor < 260 * 1024, "{compressor}");
    assert!(decompressor < 47 * 1024, "{decompressor}");
    let account = MemoryAccount::new();
    let text: Vec<u8> = (0..60_000_u32).flat_map(|n| format!("{n}\r\n").into_bytes()).collect();
    account.deliver("INBOX", &[b"Subject: x\r\n\r\n", &text[..]].concat());
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = in_inbox(&account).await;
        client.command("a FETCH 1 BODY.PEEK[1]<0.1>").await;
        clients.push(client);
    }
    let before = held();
    for client in &mut clients {
        assert!(client.command("a COMPRESS DEFLATE").await.starts_with("a OK"));
        talk(client).await;
    }
    tokio::task::yield_now().await;
    let kept = held() - before;
    let each = kept / isize::try_from(SESSIONS).unwrap();
    assert!(each < 52 * 1024, "{each}");
    assert!(each > 32 * 1024, "{each}: the peer may use a window of 32 KiB");
}
