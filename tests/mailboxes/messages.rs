//! Messages of many MIME forms, well made and broken, all invented.

use crate::draw::Draw;

/// One to one: each form stands for a rule of RFC 5322, RFC 2045 or RFC 2046, or for a breach of it.
const FORMS: [&str; 34] = [
    // Plain, and the least there can be.
    "From: Anna <anna@pec.example>\nTo: bruno@pec.example\nSubject: Uno\nDate: Mon, 7 Feb 1994 21:52:25 -0800\n\
     Message-ID: <uno@pec.example>\n\nCorpo\n",
    "Subject: senza corpo\n\n",
    "Subject: senza riga vuota\n",
    "\nsolo corpo\n",
    // Structures.
    "From: a@a.example\nSubject: =?utf-8?q?Perch=C3=A9?=\nMessage-ID: <due@pec.example>\nIn-Reply-To: <uno@pec.example>\n\
     References: <uno@pec.example>\nDate: Tue, 8 Feb 1994 10:00:00 +0100\nMIME-Version: 1.0\n\
     Content-Type: multipart/mixed; boundary=\"b1\"\n\npreambolo\n--b1\nContent-Type: text/plain; charset=utf-8\n\
     Content-Transfer-Encoding: quoted-printable\n\nPerch=C3=A9 =\nno\n--b1\nContent-Type: application/pdf; name=\"a b.pdf\"\n\
     Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"a b.pdf\"; size=3\nContent-ID: <x@y>\n\
     Content-Description: carta\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\nContent-Language: it, en\nContent-Location: http://a.example/\n\n\
     JVBERi0=\n--b1--\nepilogo\n",
    "From: a@a.example\nTo: b@b.example\nSubject: annidato\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=out\n\n\
     --out\nContent-Type: multipart/alternative; boundary=in\n\n--in\nContent-Type: text/plain\n\nuno\n--in\n\
     Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n<p>due</p>\n--in--\n--out\n\
     Content-Type: image/png\nContent-Disposition: inline\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--out--\n",
    "From: a@a.example\nSubject: inoltro\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\
     Content-Type: message/rfc822\n\nFrom: c@c.example\nTo: d@d.example\nSubject: dentro\nDate: Wed, 9 Feb 1994 09:00:00 +0000\n\
     Content-Type: multipart/mixed; boundary=y\n\n--y\n\nprimo\n--y\nContent-Type: text/html\n\n<b>\n--y--\n--x--\n",
    "Subject: messaggio intero\nContent-Type: message/rfc822\n\nSubject: re: dentro\nFrom: e@e.example\n\nsotto\n",
    "Subject: digest\nContent-Type: multipart/digest; boundary=d\n\n--d\n\nFrom: f@f.example\nSubject: uno\n\n1\n--d\n\n\
     From: g@g.example\nSubject: due\n\n2\n--d--\n",
    "Subject: firmato\nContent-Type: multipart/signed; micalg=sha-256; protocol=\"application/pkcs7-signature\"; boundary=s\n\n\
     --s\nContent-Type: text/plain\n\nfirmato\n--s\nContent-Type: application/pkcs7-signature; name=smime.p7s\n\
     Content-Transfer-Encoding: base64\n\nMIIB\n--s--\n",
    // Broken structures.
    "Subject: mai chiuso\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nfine",
    "Subject: senza confine\nContent-Type: multipart/mixed\n\n--b\n\ntesto\n--b--\n",
    "Subject: nessuna parte\nContent-Type: multipart/mixed; boundary=b\n\nniente di diviso\n",
    "Subject: subito chiuso\nContent-Type: multipart/mixed; boundary=b\n\n--b--\n",
    "Subject: confine interno uguale\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
     Content-Type: multipart/mixed; boundary=b\n\n--b\n\nuno\n--b--\n--b--\n",
    "Subject: confine prefisso\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\
     Content-Type: multipart/mixed; boundary=abc\n\n--abc\n\nuno\n--abc--\n--ab\n\ndue\n--ab--\n",
    "Subject: confine con spazi\nContent-Type: multipart/mixed; boundary=\"a b\"\n\n--a b  \n\nuno\n--a b--  \n",
    "Subject: esterno chiude\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n\
     --i\n\nuno\n--o\n\ndue\n--o--\n",
    "Subject: parte senza corpo\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n--b\n\n--b--\n",
    "Subject: tipo vuoto\nContent-Type:\n\ntesto\n",
    "Subject: tipo rotto\nContent-Type: testo\n\ntesto\n",
    "Subject: tipo con resto\nContent-Type: text/plain; charset; name=; =x; a=b; a=c; \"q\"=r\n\ntesto\n",
    "Subject: parametri continuati\nContent-Type: application/octet-stream; name*0=\"uno \"; name*1=\"due\"; t*=utf-8'it'%C3%A9\n\
     Content-Disposition: attachment; filename*=utf-8''a%20b\n\nx\n",
    "Subject: due tipi\nContent-Type: text/plain\nContent-Type: text/html\nContent-Transfer-Encoding: x-altro\n\ntesto\n",
    "Content-Type: TEXT/HTML (commento) ; CHARSET = \"UTF-8\" (altro)\nContent-Transfer-Encoding: BASE64 (c)\nSubject: commenti\n\n\
     PGI+\n",
    "Subject: base64 rotto\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\nAAA*BB\nB=\nCC\n",
    "Subject: qp rotto\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nuno=ZZ=3D=4\ndue  \n=\n",
    // Addresses and other fields.
    "From: \"Rossi, Mario\" <mario@pec.example> (nota), b@c.example\nSender: s@s.example\nReply-To: r@r.example\n\
     To: Gruppo: uno@u.example, Due <due@d.example>;, tre@t.example\nCc: undisclosed-recipients:;\nBcc: nascosto@n.example\n\
     Subject: indirizzi\nDate: 1 Jan 2020 00:00 GMT\n\nx\n",
    "From: senza chiocciola\nTo: <@via.example:dest@d.example>\nCc: <>, ,, x@y.example,\nSender:\nReply-To: \n\
     Subject: indirizzi rotti\nDate: domani\nMessage-ID: senza parentesi\nIn-Reply-To: <uno@pec.example> <due@pec.example>\n\nx\n",
    "From: =?iso-8859-1?Q?Andr=E9?= <andre@a.example>\nTo: \"virgolette \\\" dentro\" <v@v.example>\n\
     Subject: =?utf-8?b?w6jDqA==?= =?utf-8?b?w6g=?=\nX-Vuoto:\nX-Doppio: uno\nX-Doppio: due\n\nx\n",
    "From: mario@pec.example (Mario \"il\" Rossi)\nTo: Mario.Rossi@pec.example, \"con spazi\"@pec.example, a@[127.0.0.1]\n\
     Subject: piegato\n su due\n\trighe\nDate: Thu,\n 10 Feb 1994 11:00:00 +0000 (CET)\n\nx\n",
    "Subject: riga strana\nquesta non ha nome\n: nome vuoto\nX Y: spazio nel nome\nTo : spazio@prima.example\n\ncorpo\n",
    "Subject: Re: [lista] Uno (fwd)\nMessage-ID: <tre@pec.example>\nReferences: <uno@pec.example> <due@pec.example>\n\
     From: h@h.example\nDate: Fri, 11 Feb 1994 12:00:00 +0000\n\nrisposta\n",
    "Subject: ottetti \u{e8}\u{e9}\nFrom: \u{e0} <a@a.example>\nContent-Type: text/plain; charset=utf-8\n\
     Content-Transfer-Encoding: 8bit\n\n\u{e8}\n",
];

/// A message: a form, sometimes damaged.
pub(crate) fn draw(draw: &mut Draw) -> Vec<u8> {
    let text = *draw.pick(&FORMS);
    let mut lines: Vec<&str> = text.split('\n').collect();
    if draw.once_in(3) && lines.len() > 3 {
        let at = draw.below(lines.len() - 1);
        // A date that two servers read otherwise would order everything otherwise.
        let dated = lines[at].starts_with("Date:") || lines[at].starts_with([' ', '\t']);
        match draw.below(4) {
            _ if dated => {}
            0 => {
                lines.remove(at);
            }
            1 => lines.insert(at, ""),
            2 => lines.insert(at, lines[at]),
            _ => lines.truncate(at + 1),
        }
    }
    lines.join("\r\n").into_bytes()
}
