import {describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {noChromium} from './chromium.ts'
import {useSite} from './site.ts'

describe.skipIf(noChromium)(`an account in the browser${noChromium ? `. ${noChromium}` : ''}`, () => {
  const site = useSite()

  it('is made by the mailed link, which can be sent again, and says what is missing until then', async () => {
    const {page, errors} = await site.open()
    const email = 'new@example.com'
    await page.goto('/')
    await page.getByRole('button', {name: 'Create an account'}).click()
    await page.getByRole('button', {name: 'Create account'}).click()
    expect(await page.getByText('Enter an address such as').count()).toBe(1)
    await page.getByLabel('Name').fill('New Person')
    await page.getByLabel('Email address').fill(email)
    await page.getByLabel('Password').fill('secret one')
    await page.getByRole('button', {name: 'Create account'}).click()
    await page.getByRole('heading', {name: 'Check your email'}).waitFor()
    const again = page.getByRole('button', {name: 'Send the mail again'})
    expect(await again.getAttribute('aria-disabled')).toBe('true')
    expect(await page.getByText(/You can send it again in \d+ seconds/).count()).toBe(1)

    await page.getByRole('button', {name: 'Back to sign in'}).click()
    await page.getByLabel('Password').fill('wrong')
    await page.getByRole('button', {name: 'Sign in', exact: true}).click()
    expect(await page.getByRole('alert').textContent()).toBe('Email address or password is wrong.')
    await page.getByLabel('Password').fill('secret one')
    await page.getByRole('button', {name: 'Sign in', exact: true}).click()
    await page.getByRole('heading', {name: 'Confirm your address first'}).waitFor()
    await again.click()
    await page.getByText('Sent again').waitFor()

    const link = await eventually(async () => {
      const links = await site.server.links(email)
      return links.length === 2 ? links.at(-1) : null
    })
    await page.goto(link)
    await page.getByText('You are signed in as New Person.').waitFor()
    expect(new URL(page.url()).search).toBe('')
    await page.goto(link)
    await page.getByText('This link was used already. You are signed in as New Person.').waitFor()
    expect(errors).toEqual([])
  })

  it('gets a new password by mail', async () => {
    const ann = await site.person('Ann')
    const {page} = await site.open()
    await page.goto('/')
    await page.getByRole('button', {name: 'Forgot your password?'}).click()
    await page.getByLabel('Email address').fill(ann.email)
    await page.getByRole('button', {name: 'Mail me a link'}).click()
    await page.getByRole('heading', {name: 'Check your email'}).waitFor()
    const link = await eventually(async () =>
      (await site.server.links(ann.email)).find((one) => one.includes('reset=')),
    )
    await page.goto(link)
    await page.getByLabel('New password').fill('another secret')
    expect(new URL(page.url()).search).toBe('')
    await page.getByRole('button', {name: 'Save and sign in'}).click()
    await page.getByText('You are signed in as Ann.').waitFor()

    // Another browser chooses yet another one, and with it ends this session.
    await ann.post('/api/email/forgot', {email: ann.email})
    const next = await eventually(async () =>
      (await site.server.links(ann.email)).find((one) => one.includes('reset=') && one !== link),
    )
    const token = new URL(next).searchParams.get('reset')
    await ann.post('/api/email/reset', {token, password: 'a third secret'})
    await page.getByText('Your session has ended.').waitFor()
    expect(await page.locator('.notices p').allTextContents()).toEqual([
      'Your session has ended. Sign in again to go on.',
    ])
    await page.getByRole('banner').getByRole('link', {name: 'Sign in'}).click()
    await page.getByLabel('Email address').fill(ann.email)
    await page.getByLabel('Password').fill('a third secret')
    await page.getByRole('button', {name: 'Sign in', exact: true}).click()
    await page.getByText('You are signed in as Ann.').waitFor()
    expect(await page.getByText('Your session has ended.').count()).toBe(0)
  })

  it('is told when a way to sign in is not set up', async () => {
    const {page} = await site.open()
    await page.goto('/')
    await page.getByRole('button', {name: 'Continue with Discord'}).click()
    await page.getByText('Signing in with Discord is not set up on this server.').waitFor()
  })

  it('is told why a link or another site did not sign it in, for every reason that there is', async () => {
    const {page} = await site.open()
    for (const [query, words] of [
      ['failed&reason=used', 'This link was used already.'],
      ['failed&reason=expired', 'This link is older than 24 hours.'],
      ['failed&reason=invalid', 'This link is not complete'],
      ['failed&reason=denied', 'permission was not given'],
      ['failed&reason=state', 'begun in another window'],
      ['failed&reason=provider', 'The other site did not answer as it should.'],
      ['failed&reason=else', 'Signing in did not work.'],
      ['ok', 'this browser did not keep it'],
    ] as const) {
      await page.goto(`/?login=${query}`)
      await page.getByText(words).waitFor()
      expect(new URL(page.url()).search).toBe('')
    }
  })

  it('can be used where the browser keeps nothing', async () => {
    const {page, errors} = await site.open(await site.person('Ann'))
    await page.addInitScript(`for (const name of ['localStorage', 'sessionStorage'])
      Object.defineProperty(window, name, {get() { throw new DOMException('Access is denied', 'SecurityError') }})`)
    await page.goto('/?login=ok')
    await page.getByText('You are signed in as Ann.').waitFor()
    await page.goto('/posts/')
    await page.getByRole('button', {name: 'Write a post'}).waitFor()
    expect(errors).toEqual([])
  })

  it('is taken to the room it was sent to once it is signed in', async () => {
    const ann = await site.person('Ann')
    const {room} = (await ann.post('/api/rooms', {name: 'Lobby'})).body
    const {page} = await site.open()
    await page.goto(`/rooms/${room.id}`)
    await page.getByLabel('Email address').fill(ann.email)
    await page.getByLabel('Password').fill('secret one')
    await page.getByRole('button', {name: 'Sign in', exact: true}).click()
    await page.getByRole('heading', {name: 'Lobby', level: 1}).waitFor()
  })

  it('can take its data along, sign out, and be erased', async () => {
    const [ann, bob] = [await site.person('Ann'), await site.person('Bob')]
    const {room} = (await ann.post('/api/rooms', {name: 'Lobby', visibility: 'open'})).body
    await bob.post(`/api/rooms/${room.id}/join`)
    await ann.post(`/api/rooms/${room.id}/messages`, {content: 'not for ever'})
    const other = await site.open(bob)
    await other.page.goto(`/rooms/${room.id}`)
    await other.page.locator('.message', {hasText: 'not for ever'}).waitFor()
    const {page} = await site.open(ann)
    await page.goto('/')
    const account = page.getByRole('button', {name: /your account/})
    await account.click()
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByText('Download my data').click()])
    expect(await download.failure()).toBeNull()
    await page.keyboard.press('Escape')
    expect(await account.evaluate((button) => button === button.ownerDocument.activeElement)).toBe(true)

    await account.click()
    await page.getByRole('button', {name: 'Erase my account…'}).press('Enter')
    expect(await page.getByLabel('Your password').evaluate((field) => field.matches(':focus'))).toBe(true)
    await page.getByRole('button', {name: 'Keep my account'}).press('Enter')
    expect(await page.locator('dialog :focus').count()).toBe(1)
    await page.getByRole('button', {name: 'Erase my account…'}).press('Enter')
    await page.keyboard.type('not it')
    await page.getByRole('button', {name: 'Erase everything'}).click()
    await page.getByRole('alert').waitFor()
    await page.getByLabel('Your password').fill('secret one')
    await page.getByRole('button', {name: 'Erase everything'}).click()
    await page.getByRole('button', {name: 'Sign in', exact: true}).waitFor()
    expect((await ann.get('/api/me')).status).toBe(401)
    // Who looks at it at that moment sees it go.
    await other.page.locator('.message', {hasText: '[erased]'}).waitFor()
    expect(await other.page.getByText('not for ever').count()).toBe(0)

    await other.page.goto('/')
    await other.page.getByRole('button', {name: /your account/}).click()
    await other.page.getByRole('link', {name: 'Sign out'}).click()
    await other.page.getByRole('button', {name: 'Sign in', exact: true}).waitFor()
    expect((await bob.get('/api/me')).status).toBe(401)
  })
})
