import type {Mail} from './transport.ts'

/** What a mail with a link is made of. Each paragraph is an array of lines of at most 76 characters. */
export type LinkMail = {
  to: string
  subject: string
  what: string[]
  username: string
  askedAt: Date
  invitation: string[]
  link: string
  otherwise: string[]
}

/** The one layout of our mails, as text and as HTML. The link stands alone on its line of the text. */
export const linkMail = (mail: LinkMail): Mail => {
  const name = printable(mail.username)
  const time = `${mail.askedAt.toISOString().slice(0, 19).replace('T', ' ')} UTC`
  const text = (lines: string[]) => lines.join('\n')
  const html = (lines: string[]) => `<p>${escapeHtml(text(lines))}</p>`
  const link = escapeHtml(mail.link)
  return {
    to: mail.to,
    subject: mail.subject,
    text: `Hello,

${text(mail.what)}

Username: ${name}
Time: ${time}

${text(mail.invitation)}

${mail.link}

${text(mail.otherwise)}
`,
    html: `<p>Hello,</p>
${html(mail.what)}
<p>Username: <strong>${escapeHtml(name)}</strong><br>
Time: ${time}</p>
${html(mail.invitation)}
<p><a href="${link}">${link}</a></p>
${html(mail.otherwise)}
`,
  }
}

/** On one line and read in its own direction, so that a name cannot pose as the mail's own words or as a link of its own. */
const printable = (name: string): string => name.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, ' ')

const ENTITIES: Record<string, string> = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;'}

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character]!)
