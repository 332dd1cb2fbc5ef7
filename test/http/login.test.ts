import {describe, expect, it} from 'vitest'
import {signUp, startServer, visit} from '../support/server.ts'

describe('logIn', () => {
  it('says no to everybody in the same words and in the same time', async () => {
    const server = await startServer({BCRYPT_COST: '9'})
    const ann = await signUp(server, {email: 'ann@example.com', password: 'right one'})
    await visit(server.url).post('/api/email/register', {email: 'open@example.com', password: 'right one'})
    const kinds = {
      known: {email: ann.email, password: 'wrong one'},
      unknown: {email: 'nobody@example.com', password: 'wrong one'},
      unverified: {email: 'open@example.com', password: 'wrong one'},
      noAddress: {email: 'no address', password: 'wrong one'},
      tooLong: {email: ann.email, password: `right one${'x'.repeat(80)}`},
    }
    const fastest = new Map<string, number>()
    const answers = new Map<string, object>()
    for (let round = 0; round < 4; round++) {
      for (const [kind, body] of Object.entries(kinds)) {
        const began = performance.now()
        const {status, body: answer, headers} = await visit(server.url).post('/api/email/login', body)
        fastest.set(kind, Math.min(performance.now() - began, fastest.get(kind) ?? Number.POSITIVE_INFINITY))
        const {date: _date, 'x-request-id': _id, ...rest} = Object.fromEntries(headers)
        answers.set(kind, {status, answer: {...answer, requestId: ''}, rest})
      }
    }
    expect(answers.get('known')).toMatchObject({status: 401, answer: {code: 'WRONG_CREDENTIALS'}})
    for (const kind of Object.keys(kinds)) expect(answers.get(kind)).toEqual(answers.get('known'))
    // None compared would take a tenth of the time, and two compared twice as long.
    for (const ms of fastest.values()) {
      expect(ms / fastest.get('known')!).toBeGreaterThan(0.6)
      expect(ms / fastest.get('known')!).toBeLessThan(1.6)
    }
  })

  it('takes no password that is only a part of the right one, as bcrypt alone would', async () => {
    const server = await startServer()
    const password = 'x'.repeat(72)
    const ann = await signUp(server, {password})
    const attempt = async (given: string) =>
      (await visit(server.url).post('/api/email/login', {email: ann.email, password: given})).status
    expect([await attempt(`${password}y`), await attempt(password.slice(1)), await attempt(password)]).toEqual([
      401, 401, 200,
    ])
  })
})
