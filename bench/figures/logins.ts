import {hashPassword} from '../../src/keys/password.ts'
import {answerOf} from '../answers.ts'
import {type Figure, inTurn, judge} from '../harness.ts'
import {load} from '../load.ts'
import type {Running} from '../place.ts'
import {fillWorld, people, postsBy, register} from '../world.ts'

const EMAIL = 'somebody@example.com'
const PASSWORD = 'a password of a person'

/** Two logins a second until told to stop. */
const loggingIn = ({url}: Running): (() => Promise<void>) => {
  const under: Promise<void>[] = []
  const one = async () => {
    const response = await fetch(`${url}/api/email/login`, {
      method: 'POST',
      headers: {'content-type': 'application/json'},
      body: JSON.stringify({email: EMAIL, password: PASSWORD}),
    })
    const answer = await response.text()
    if (response.status !== 200) throw new Error(`a login was refused: ${answer}`)
  }
  const begin = () => {
    const login = one()
    login.catch(() => {})
    under.push(login)
  }
  begin()
  const timer = setInterval(begin, 500)
  return async () => {
    clearInterval(timer)
    await Promise.all(under)
  }
}

export const logins: Figure = {
  name: 'logins',
  measure: async (bench) => {
    const {place, quick} = bench
    const cost = quick ? 4 : 12
    const hash = await hashPassword(PASSWORD, cost)
    const databaseUrl = await place.freshDatabase((url) =>
      fillWorld(url, async (world) => {
        const [one] = people(1)
        const somebody = {...one!, identity: world.foundation.keys.identityHash('email', EMAIL)}
        await register(world, [somebody], {passwordHash: hash, email: () => EMAIL})
        await world.append(postsBy([somebody], 20))
      }),
    )
    const ours = await place.server({databaseUrl, env: {BCRYPT_COST: String(cost)}})
    const answers = [await answerOf(ours.url, '/api/posts')]
    const same = await place.baseline('fixedAnswers.ts', {middleware: true, answers, hash})
    const measure = (running: Running) => async () => {
      const stop = loggingIn(running)
      const options = {seconds: quick ? 1 : 5, connections: 50, rate: 100, requests: [{path: '/api/posts'}]}
      try {
        return (await load(running, options)).p99
      } finally {
        await stop()
      }
    }
    const {ours: our, same: bare} = await inTurn(bench, {ours: measure(ours), same: measure(same)})
    return [
      judge({
        figure: `GET /api/posts at 100 requests/s during 2 bcrypt logins/s at cost ${cost}, p99`,
        against: 'Express from memory, with the same 2 bcrypt logins/s',
        unit: 'ms',
        ours: our,
        baseline: bare,
        atMost: 1.5,
        leavesOut:
          'TLS, a network. The server has one core, so a login takes its threads from the same core that answers.',
      }),
    ]
  },
}
