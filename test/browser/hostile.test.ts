import {describe, expect, it} from 'vitest'
import {connectBot} from '../support/server.ts'
import {noChromium} from './chromium.ts'
import {useSite} from './site.ts'

const MARKUP = [
  '<img src=x onerror=window.pwned=1>',
  '<script>window.pwned=1</script>',
  '"><svg onload=window.pwned=1>',
  '{{constructor.constructor("window.pwned=1")()}}',
  'javascript:window.pwned=1',
  'https://example.org/"onmouseover="window.pwned=1',
  'http://[javascript:window.pwned=1',
  '\u202egnp.exe',
]

describe.skipIf(noChromium)(`what people write, in the browser${noChromium ? `. ${noChromium}` : ''}`, () => {
  const site = useSite()

  it('is never markup, wherever it is shown', async () => {
    const name = '<b onclick=window.pwned=1>Eve</b>'
    const [eve, ann] = [await site.person(name), await site.person('Ann')]
    const body = MARKUP.join('\n')
    const post = await eve.post('/api/posts', {
      title: MARKUP[0],
      body,
      attachments: [
        'https://example.org/%22%3E%3Cimg%20src=x%20onerror=window.pwned=1%3E.png',
        "https://example.org/'onload='x.gif",
      ],
    })
    const {room} = (await eve.post('/api/rooms', {name: '<img src=x onerror=window.pwned=1>'})).body
    await eve.post(`/api/rooms/${room.id}/invite`, {userId: ann.email})
    for (const content of MARKUP) await eve.post(`/api/rooms/${room.id}/messages`, {content})
    const bot = await connectBot(site.server, {botId: 'eve', botName: '<iframe srcdoc=x>'})
    await bot.ask('join_room', room.id)
    await bot.ask('send_message', {roomId: room.id, content: body})

    const {page, errors} = await site.open(ann)
    const look = async () => {
      expect(await page.evaluate('window.pwned')).toBeUndefined()
      expect(
        await page.locator('b, iframe, script:not([src]), img[src=x], [onerror], [onload], [onclick]').count(),
      ).toBe(0)
      const addresses: string[] = await page
        .locator('main a')
        .evaluateAll((links: {protocol: string}[]) => links.map(({protocol}) => protocol))
      expect(addresses.filter((protocol) => !/^https?:$/.test(protocol))).toEqual([])
    }
    for (const [path, text] of [
      ['/', MARKUP[0]!],
      ['/posts/', 'gnp.exe'],
      [`/posts/${post.body.post.id}`, 'gnp.exe'],
      ['/rooms/', name],
    ] as const) {
      await page.goto(path)
      await page.getByText(text).first().waitFor()
      await look()
    }
    await page.getByRole('button', {name: 'Join', exact: true}).click()
    await page.locator('.message', {hasText: 'gnp.exe'}).last().waitFor()
    await look()
    await eve.post('/api/posts', {title: '<img src=x onerror=window.pwned=1>'})
    await eve.post(`/api/rooms/${room.id}/messages`, {content: '<img src=x onerror=window.pwned=2>'})
    await page.locator('.message', {hasText: 'pwned=2'}).waitFor()
    await look()
    await page.goto(`/?login=failed&reason=${encodeURIComponent(MARKUP[0]!)}&reset=${encodeURIComponent(MARKUP[2]!)}`)
    await page.getByText('Signing in did not work.').waitFor()
    await look()
    expect(errors).toEqual([])
  })

  it('can not run even where it would get in: the page takes no script but its own', async () => {
    const {page, errors} = await site.open()
    const answer = await page.goto('/')
    const policy = answer!.headers()['content-security-policy']
    expect(policy).toContain("script-src 'self'")
    expect(policy).not.toContain('unsafe')
    expect(policy).not.toContain('upgrade-insecure-requests')
    await page.evaluate(
      `document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.pwned=1"><p style="color:red">')`,
    )
    await expect.poll(() => errors.filter((error) => /Content Security Policy/.test(error)).length).toBeGreaterThan(1)
    expect(await page.evaluate('window.pwned')).toBeUndefined()
  })
})
