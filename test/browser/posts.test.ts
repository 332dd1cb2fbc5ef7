import {randomBytes} from 'node:crypto'
import {mkdtemp, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import type {Page} from 'playwright-core'
import sharp from 'sharp'
import {describe, expect, it} from 'vitest'
import {noChromium} from './chromium.ts'
import {useSite} from './site.ts'

const picture = (colour: string) =>
  sharp({create: {width: 64, height: 48, channels: 3, background: colour}})
    .png()
    .toBuffer()

const titles = async (page: Page, begin: string): Promise<(string | null)[]> =>
  (await page.getByRole('article').evaluateAll((posts) => posts.map((post) => post.ariaLabel))).filter((title) =>
    title?.startsWith(begin),
  )

describe.skipIf(noChromium)(`posts in the browser${noChromium ? `. ${noChromium}` : ''}`, () => {
  const site = useSite()

  it('are written with files by button, paste and drop, each checked, and kept through a reload', async () => {
    const ann = await site.person('Ann')
    const {page, errors} = await site.open(ann)
    await page.goto('/posts/')
    await page.getByRole('button', {name: 'Write a post'}).click()
    await page.getByLabel('Title').fill('Three colours')
    await page.getByLabel('Text').fill('By button,\npaste and drop.')
    const folder = await mkdtemp(join(tmpdir(), 'community-files-'))
    const files: Record<string, Buffer> = {
      'red.png': await picture('red'),
      'notes.txt': Buffer.from('no'),
      'large.png': randomBytes(10_485_761),
      'fake.png': Buffer.from('not a picture'),
    }
    for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes)
    await page.route('**/api/upload', (route) => route.abort(), {times: 1})
    await page.setInputFiles('input[type=file]', join(folder, 'red.png'))
    await page.getByText('There was no connection.').waitFor()
    await page.getByRole('button', {name: 'Try again'}).click()
    await page.getByLabel('Attachments').getByText('attached').waitFor()
    await page.getByRole('button', {name: 'Remove red.png'}).click()
    await page.setInputFiles(
      'input[type=file]',
      Object.keys(files).map((name) => join(folder, name)),
    )
    await page.getByText('Only JPG, PNG, GIF, WebP and PDF files can be attached.').waitFor()
    await page.getByText('at most 10 MB can be attached').waitFor()
    await page.getByText('This is not really a JPG').waitFor()
    for (const name of ['notes.txt', 'large.png', 'fake.png']) {
      await page.getByRole('button', {name: `Remove ${name}`}).click()
    }
    for (const [kind, colour] of [
      ['paste', 'green'],
      ['drop', 'blue'],
    ]) {
      const bytes = (await picture(colour!)).toString('base64')
      await page.getByLabel('Text').evaluate(
        (text, [kind, name, bytes]) => {
          // biome-ignore lint/suspicious/noExplicitAny: this runs in the page, whose types the tests do not have
          const page = globalThis as any
          const transfer = new page.DataTransfer()
          const part = Uint8Array.from(atob(bytes!), (letter) => letter.charCodeAt(0))
          transfer.items.add(new page.File([part], name, {type: 'image/png'}))
          const event =
            kind === 'paste'
              ? new page.ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true})
              : new page.DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true})
          text.dispatchEvent(event)
        },
        [kind, `${colour}.png`, bytes],
      )
    }
    const attached = page.getByLabel('Attachments').getByText('attached')
    await attached.nth(2).waitFor()
    await page.reload()
    await attached.nth(2).waitFor()
    expect(await page.getByLabel('Text').inputValue()).toBe('By button,\npaste and drop.')
    await page.getByRole('button', {name: 'Publish'}).click()
    const post = page.getByRole('article', {name: 'Three colours'})
    await post.waitFor()
    expect(await post.locator('img').count()).toBe(3)
    const sizes = await post
      .locator('img')
      .evaluateAll((images: {naturalWidth: number; decode(): Promise<void>}[]) =>
        Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth))),
      )
    expect(sizes).toEqual([64, 64, 64])
    expect((await ann.get('/api/posts')).body).toHaveLength(1)
    await page.reload()
    await page.getByRole('button', {name: 'Write a post'}).waitFor()
    expect(errors).toEqual([])
  })

  it('by others are announced, and shown when asked for', async () => {
    const [ann, bob] = [await site.person('Ann'), await site.person('Bob')]
    await ann.post('/api/posts', {title: 'Old', attachments: ['https://example.org/a.png']})
    const {page, context} = await site.open(ann)
    await page.goto('/posts/')
    const old = page.getByRole('article', {name: 'Old'})
    await old.waitFor()
    // What lies elsewhere is a link, whatever its name.
    expect(await old.locator('img').count()).toBe(0)
    expect(await old.getByRole('link', {name: 'example.org / a.png'}).getAttribute('rel')).toContain('noopener')
    await bob.post('/api/posts', {title: 'Live'})
    await page.getByRole('button', {name: '1 new post · Show'}).waitFor()
    expect(await page.getByRole('article', {name: 'Live'}).count()).toBe(0)
    await context.setOffline(true)
    await page.getByText('No connection').waitFor()
    await bob.post('/api/posts', {title: 'Missed'})
    await context.setOffline(false)
    await page.getByRole('button', {name: '2 new posts · Show'}).click()
    expect(await page.getByRole('article').first().getAttribute('aria-label')).toBe('Missed')
    expect(await page.getByRole('article', {name: 'Live'}).count()).toBe(1)
    expect(await page.getByRole('link', {name: 'Missed'}).evaluate((link) => link.matches(':focus'))).toBe(true)

    // More than a page of them: none may be left out between what is new and what was there.
    await context.setOffline(true)
    await page.getByText('No connection').waitFor()
    for (let at = 0; at < 22; at++) await bob.post('/api/posts', {title: `Much ${at}`})
    await context.setOffline(false)
    await page.getByRole('button', {name: 'Many new posts · Show'}).click()
    await page.getByRole('article', {name: 'Much 21'}).waitFor()
    while ((await page.getByRole('article', {name: 'Old', exact: true}).count()) === 0) {
      await page.mouse.wheel(0, 2_000)
      await page.waitForTimeout(50)
    }
    expect(await titles(page, 'Much')).toEqual(Array.from({length: 22}, (_, at) => `Much ${21 - at}`))
  })

  it('go on page by page, without a gap and without a double', async () => {
    const ann = await site.person('Ann')
    for (let at = 0; at < 45; at++) await ann.post('/api/posts', {title: `Page post ${at}`})
    const {page} = await site.open(ann)
    await page.goto('/posts/')
    await page.getByRole('article', {name: 'Page post 44'}).waitFor()
    while ((await page.getByRole('article', {name: 'Page post 0', exact: true}).count()) === 0) {
      await page.mouse.wheel(0, 2_000)
      await page.waitForTimeout(50)
    }
    expect(await titles(page, 'Page post')).toEqual(Array.from({length: 45}, (_, at) => `Page post ${44 - at}`))
    // Who looks at one and comes back is where they were.
    const last = page.getByRole('link', {name: 'Page post 0', exact: true})
    await last.click()
    await page.getByRole('heading', {name: 'Page post 0', level: 1}).waitFor()
    await page.goBack()
    await last.waitFor()
    await expect.poll(() => page.evaluate('scrollY')).toBeGreaterThan(1_000)
  })
})
