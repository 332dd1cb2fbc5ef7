import type {Mail} from './transport.ts'

/** The mail of one attempt to register, written also for a reader who did not make it. `link` ends after 24 hours. */
export const verificationMail = (attempt: {to: string; username: string; attemptedAt: Date; link: string}): Mail => {
  const name = printable(attempt.username)
  const time = `${attempt.attemptedAt.toISOString().slice(0, 19).replace('T', ' ')} UTC`
  return {
    to: attempt.to,
    subject: 'Confirm your email address',
    text: `Hello,

somebody registered this email address with the community.

Username: ${name}
Time: ${time}

If this was you, open this link within 24 hours. It confirms the address
and signs you in:

${attempt.link}

If it was not you, or the name or the time is not yours, do not open the
link and forget this mail: without it the registration never takes effect.
`,
    html: `<p>Hello,</p>
<p>somebody registered this email address with the community.</p>
<p>Username: <strong>${escapeHtml(name)}</strong><br>
Time: ${time}</p>
<p>If this was you, open this link within 24 hours. It confirms the address
and signs you in:</p>
<p><a href="${escapeHtml(attempt.link)}">${escapeHtml(attempt.link)}</a></p>
<p>If it was not you, or the name or the time is not yours, do not open the
link and forget this mail: without it the registration never takes effect.</p>
`,
  }
}

/** On one line and read in its own direction, so that a name cannot pose as the mail's own words or as a link of its own. */
const printable = (name: string): string => name.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, ' ')

const ENTITIES: Record<string, string> = {'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;'}

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character]!)
