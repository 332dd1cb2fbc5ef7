import {describe, expect, it} from 'vitest'
import {verificationMail} from '../../src/mail/verificationMail.ts'

const attempt = {
  to: 'foo@example.org',
  username: 'Foo',
  askedAt: new Date('2026-03-04T05:06:07.890Z'),
  link: 'https://community.example.org/api/email/verify?token=abc',
}

describe('verificationMail', () => {
  it('names the attempt and its link in both parts', () => {
    const mail = verificationMail(attempt)
    expect(mail.to).toBe(attempt.to)
    for (const part of [mail.text, mail.html]) {
      expect(part).toContain('Foo')
      expect(part).toContain('2026-03-04 05:06:07 UTC')
      expect(part).toContain(attempt.link)
    }
    expect(mail.text.split('\n')).toContain(attempt.link)
    expect(mail.html).toContain(`<a href="${attempt.link}">`)
  })

  it('shows a name in HTML as text', () => {
    const {html, text} = verificationMail({...attempt, username: `<img src="x" onerror='a()'>&amp;`})
    expect(html).toContain('&lt;img src=&quot;x&quot; onerror=&#39;a()&#39;&gt;&amp;amp;')
    expect(text).toContain(`<img src="x" onerror='a()'>&amp;`)
  })

  it('keeps a name on its line and out of the subject', () => {
    const mail = verificationMail({...attempt, username: 'a\r\nBcc: x@example.org\n\u2028https://evil.example\u202eb'})
    expect(mail.subject).toBe(verificationMail(attempt).subject)
    expect(mail.text).toContain('Username: a Bcc: x@example.org https://evil.example b\n')
    expect(mail.text.match(/^https?:.*$/gm)).toEqual([attempt.link])
  })

  it('needs no line longer than 76 characters, whatever the name', () => {
    const {text} = verificationMail({...attempt, username: 'x'.repeat(50), link: 'https://e.org/?token=abc'})
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(76)
  })
})
