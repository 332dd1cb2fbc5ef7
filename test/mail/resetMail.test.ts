import {describe, expect, it} from 'vitest'
import {resetMail} from '../../src/mail/resetMail.ts'

const request = {
  to: 'foo@example.org',
  username: 'Foo',
  askedAt: new Date('2026-03-04T05:06:07.890Z'),
  link: 'https://community.example.org/?reset=abc',
}

describe('resetMail', () => {
  it('names the person, the time and the link in both parts', () => {
    const mail = resetMail(request)
    expect(mail.to).toBe(request.to)
    for (const part of [mail.text, mail.html]) {
      expect(part).toContain('Foo')
      expect(part).toContain('2026-03-04 05:06:07 UTC')
      expect(part).toContain(request.link)
      expect(part).toContain('password')
    }
    expect(mail.text.split('\n')).toContain(request.link)
    expect(mail.html).toContain(`<a href="${request.link}">`)
  })

  it('shows a name as text, on its line', () => {
    const {text, html} = resetMail({...request, username: '<b>&\n\u202ehttps://evil.example'})
    expect(html).toContain('&lt;b&gt;&amp; https://evil.example')
    expect(text).toContain('Username: <b>& https://evil.example\n')
    expect(text.match(/^https?:.*$/gm)).toEqual([request.link])
  })

  it('needs no line longer than 76 characters, whatever the name', () => {
    const {text} = resetMail({...request, username: 'x'.repeat(50)})
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(76)
  })
})
